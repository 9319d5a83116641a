"""Who says what, when: state machines that know ids, counts and time, and nothing of the world."""

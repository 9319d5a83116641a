"""The sending side: objects, trains, and who receives them."""

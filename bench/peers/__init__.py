"""Other tools that carry a file over a network, and fountain, all measured the same way.

One module for each tool. A tool is given a `Job` (a file, the hosts that send and receive, a directory) and hands back
an `Outcome` (what each receiver took, and what both sides cost). `install.sh` installs them from Debian's packages.
"""

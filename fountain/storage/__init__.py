"""Objects on this disk: `source` reads what is served, `part` puts together what is fetched. Nothing else opens files.

paths       names from the network: allowed, refused, shown
files       what is asked of the operating system, and the plain way where it lacks something
layout      one run of octets over many files; hashing of blocks by several threads
scan        what a file or tree is made of, in the tables of its manifest
source      a file or tree as an object
walk        directories of a tree by number, few of them open at once
destination what may be replaced, and the last step
part        an object being received: manifest, blocks, finish, resume
  workspace   its hidden directory and lock
  tree        its files
  octets      reads and writes across them
  blocks      which blocks stand, proved and durable
  journal     the record of that
  digests     digests of the finished files
"""

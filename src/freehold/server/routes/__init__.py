"""Routes of the server; see the files beside this one."""

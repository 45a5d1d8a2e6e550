"""`qsep serve`: a page to separate recordings on, and the same for programs, over HTTP."""

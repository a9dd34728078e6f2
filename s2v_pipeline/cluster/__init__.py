"""Where chunks are made: the executor protocol, one in-process and one on Ray, and the tasks that workers run."""

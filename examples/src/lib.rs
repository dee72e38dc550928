//! Examples of `backup-sched`; each is a program of its own beside this file. Start with `quickstart`.

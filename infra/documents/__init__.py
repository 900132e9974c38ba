"""From files to text: every format that documents come in, each file parsed in a process with limits."""

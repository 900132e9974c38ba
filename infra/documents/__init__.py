"""From files to text: reads every document format, each file in a process with limits."""

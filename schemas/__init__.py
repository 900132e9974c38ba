"""The shared language of every room: life cycle, outcomes, messages, topics, job inputs and results. No I/O."""

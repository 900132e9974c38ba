"""Work comes off topics: claim, run one stage, record; the stages themselves."""

"""Work on a tenant's bytes and words, in processes that can be killed: forked from a warm one, limited, watched."""

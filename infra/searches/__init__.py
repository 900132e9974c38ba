"""How a gateway asks a worker to search: a TCP connection that both prove themselves on, and questions side by side."""

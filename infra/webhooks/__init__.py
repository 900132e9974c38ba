"""What goes out to receivers: where it may go, how it is signed, how it is sent."""

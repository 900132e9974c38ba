"""How well and how fast documents are found: compares WeLIP with simpler rankings and two popular systems."""

"""How well and how fast documents are found: WeLIP compared with simpler rankings and two popular systems."""

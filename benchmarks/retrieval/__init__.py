"""How well and how fast documents are found: WeLIP beside simpler rankings and beside two systems people use."""

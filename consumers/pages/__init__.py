"""What the reports of jobs share: one HTML file without script or link, light and dark, from a phone's width up."""

"""The report's pictures, one file each: drawn by matplotlib, coloured by the page."""

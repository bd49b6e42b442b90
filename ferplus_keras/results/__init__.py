"""What runs reached, kept as one small JSON file each, and the tables made of them."""

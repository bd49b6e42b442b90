"""Use a trained network on photos, videos, cameras and archives of pictures."""

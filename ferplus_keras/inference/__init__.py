"""Use a trained network: photos, video, an app, and exports for other runtimes."""

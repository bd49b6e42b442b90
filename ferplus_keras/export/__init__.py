"""Write a checkpoint in another format and verify that it predicts the same."""

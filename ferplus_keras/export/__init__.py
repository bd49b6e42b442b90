"""Write a checkpoint in another format and prove that it answers alike."""

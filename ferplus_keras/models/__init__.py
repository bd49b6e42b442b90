"""Networks: the table of them, their graphs, their published weights and what is frozen."""

"""Look at FER2013 and FER+ before training: labels, votes, twins and leaks."""

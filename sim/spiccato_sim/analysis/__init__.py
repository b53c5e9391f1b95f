"""What is told of networks and boards: errors, estimates, searches, the benchmark, reports and their pictures."""

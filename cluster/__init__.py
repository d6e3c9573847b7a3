"""Where it runs: profiles of Ray clusters and job submission, apart from scpo and sweeps."""

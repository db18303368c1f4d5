"""What belongs to one person and to nobody else."""

"""Claims about fine-tuning: measurements, controls, decision rules and the verdict."""

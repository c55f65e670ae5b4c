"""What deepsal has to show on a machine with an NVIDIA GPU: make gpu."""

"""The one training loop, its resumable state and the weights it leaves."""

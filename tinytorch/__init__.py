"""TinyTorch: the framework that students build."""

"""Mutation testing: break the package and the chapters in small ways, and see what notices."""

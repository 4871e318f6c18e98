"""The weekly run: how it begins or resumes, its stages, its checkpoint, and what follows the commit."""

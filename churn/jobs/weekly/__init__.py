"""The weekly run of one product.

``run`` begins or resumes it, ``stages`` are its steps, ``checkpoint`` is what a resumed run needs,
``finish`` publishes.
"""

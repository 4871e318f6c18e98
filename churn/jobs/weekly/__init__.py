"""The weekly run of one product.

``job`` is the order of the stages, ``run`` starts or resumes a run, ``stages`` does the work, ``checkpoint``
is what a resumed run needs, ``finish`` publishes.
"""

"""What a run is told: settings, profiles and product definitions.

In: defaults, ``churn.toml``, a profile, ``CHURN_...`` variables, the command line. Out: one frozen
``Settings``.
Start with ``settings`` (every field), then ``load`` (which source wins). ``products/`` holds the built-in
products.
Import ``load.load_settings``, ``settings.Settings`` and ``settings.Product``.
"""

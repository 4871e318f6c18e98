"""What a run is told: settings, profiles and product definitions."""

"""Where results go: the HTML report, the published warehouse tables, MLflow."""

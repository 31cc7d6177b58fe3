"""What is known of models before they are paid for: curated entries, imports, support policy.

Nothing here prints, imports a model's code or runs it. `requests` is imported by the Hub client
alone, and only when an import asks the network.
"""

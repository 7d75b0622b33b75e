"""Raw text to raw text: trained models in use, and their scores."""

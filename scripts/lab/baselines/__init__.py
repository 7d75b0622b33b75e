"""The models and programs that speed and quality are compared with."""

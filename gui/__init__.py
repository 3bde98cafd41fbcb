"""The desktop interface of Holdfast: what a person sees of an engine at work."""

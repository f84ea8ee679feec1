"""What ``self.cluster`` gives a developer, each in a form for Game's rules and one for Channels."""

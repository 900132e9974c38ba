"""The client: submits work from outside over HTTP. Users import it from `welip` (`producers/public/welip`)."""

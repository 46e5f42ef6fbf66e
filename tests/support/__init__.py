"""What tests of several folders share: small models, inputs, servers, processes, and how to run a command."""

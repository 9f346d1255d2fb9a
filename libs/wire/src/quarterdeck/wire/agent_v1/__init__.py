"""Generated code of protos/quarterdeck/agent/v1/agent.proto (`just protos`); nothing here is written by hand."""

"""Generated code of protos/agent_service/agent_service.proto (`just protos`); nothing here is written by hand."""

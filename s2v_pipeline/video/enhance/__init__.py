"""Enhancement of the finished picture: stages that take frames one by one and give frames one by one."""

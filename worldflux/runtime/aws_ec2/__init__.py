"""The rooms behind `runtime=aws-ec2`: plan, prices, user data, agent, launch, watch, collect, reap."""

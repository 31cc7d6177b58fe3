"""Reading what runs wrote while they ran: logs and series of metrics, of any length in bounded memory."""

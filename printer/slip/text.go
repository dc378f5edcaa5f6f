package slip

// What stands on the paper. Slips are in Portuguese alone: whoever holds one
// in Brazil may have to show it.
const (
	titlePay     = "PAGUE COM PIX"
	titleReceipt = "COMPROVANTE PIX"
	customerCopy = "VIA DO CLIENTE"
	copyOf       = "%dª VIA" // 2 and more

	howToPay   = "Abra o aplicativo do seu banco, escolha PIX e aponte a câmera para o código."
	payBefore  = "Pague até "
	foundLater = "Sem conexão com o banco agora: o pagamento será confirmado quando ela voltar. Guarde este papel e o comprovante do seu banco."
	noProof    = "ESTE PAPEL NÃO COMPROVA PAGAMENTO"

	confirmed  = "PAGAMENTO CONFIRMADO"
	refunded   = "DEVOLVIDO AO PAGADOR: %s"
	late       = "PAGAMENTO RECEBIDO FORA DO PRAZO"
	lateAdvice = "O valor chegou depois que a cobrança terminou. Guarde este comprovante e procure o atendimento."

	titleLook        = "LEITURA X"
	titleClosing     = "FECHAMENTO Z Nº %d"
	labelBusinessDay = "Dia"
	labelEntries     = "Lançamentos"
	entriesFromTo    = "%s a %s"
	noProvider       = "Sem provedor"
	totalForm        = "%s (%d)"
	totalPaid        = "Pagas"
	totalLate        = "Pagas fora do prazo"
	totalExtra       = "Pagas em dobro"
	totalMismatch    = "Não conferem"
	totalRefund      = "Devolvidas"
	totalUnmatched   = "Devoluções a conferir"
	totalCreated     = "Criadas"
	totalExpired     = "Expiradas"
	totalCancelled   = "Canceladas"
	totalFailed      = "Não criadas"
	totalReceived    = "RECEBIDO"
	totalReturned    = "DEVOLVIDO"
	labelTickets     = "Diferenças em aberto"

	titleTest   = "TESTE DE IMPRESSÃO"
	testLetters = "Letras: ã õ Ã Õ Á À Ê Í Ó Ú ç º ª"
	testRuler   = "A linha acima deve ocupar toda a largura, sem quebrar."
	testCode    = "TESTE DE IMPRESSAO: ESTE CODIGO NAO E UM PIX"
	testDone    = "Se o papel foi cortado abaixo desta linha e tudo está legível, a impressora está certa."

	labelPayee    = "Recebedor"
	labelTerminal = "Terminal"
	labelNSU      = "NSU"
	labelIssued   = "Emitido em"
	labelPaid     = "Pago em"
	labelProvider = "Processado por"
	labelPayer    = "Pagador"
	labelDocument = "CPF/CNPJ"
	labelTxID     = "TXID"
	labelEndToEnd = "ID da transação (E2E)"

	notFiscal = "NÃO É DOCUMENTO FISCAL"

	timeForm = "02/01/2006 15:04:05"
)

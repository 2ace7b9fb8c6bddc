//! Serves the counters over HTTP, on the address that is given, or on 127.0.0.1:8787.

use std::{env, error::Error, io, iter, process::ExitCode};

use dokit::Host;
use my_objects::Counter;

#[tokio::main]
async fn main() -> ExitCode {
    // What callers do not get to see, such as the cause of an internal error.
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let address = env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:8787");
    let Err(error) = serve(address).await else {
        return ExitCode::SUCCESS;
    };
    let causes = iter::successors(error.source(), |cause| Error::source(*cause));
    let causes: String = causes.map(|cause| format!(": {cause}")).collect();
    eprintln!("{error}{causes}");
    ExitCode::FAILURE
}

async fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let host = Host::builder().data("data").object::<Counter>().start()?;
    let listener = host.listen(address).await?;
    let address = listener.address();
    println!("listening on http://{address}; try");
    println!("curl -d '[5]' http://{address}/counter/global/increment");
    listener.run().await;
    Ok(())
}
